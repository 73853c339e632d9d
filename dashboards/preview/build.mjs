// Bundles the page into a folder: `node build.mjs [FOLDER]`, by default `dist`.
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';

const out = process.argv[2] ?? 'dist';
// Editors and the map library of @grafana/ui, which no panel of ours shows: they are half of the bundle.
const STUBBED =
  /^(monaco-editor|@monaco-editor|@codemirror|@uiw\/react-codemirror|@lezer|slate|slate-react|slate-plain-serializer|ol|prismjs|@grafana\/faro-web-sdk)(\/|$)/;

const stubs = {
  name: 'stubs',
  setup(bundler) {
    // Grafana's fonts are not in its packages: the page has those of the viewer's machine.
    bundler.onLoad({ filter: /GlobalStyles.fonts\.mjs$/ }, () => ({ contents: 'export const getFontStyles = () => ({})' }));
    bundler.onResolve({ filter: STUBBED }, ({ path }) => ({ path, namespace: 'stub' }));
    // A property of a stub is a stub, and so is what a call of it returns.
    const contents = `const stub = new Proxy(function () {}, {
      get: (_, name) => (name === 'prototype' ? {} : name === Symbol.toPrimitive ? () => '' : stub),
      apply: () => stub, construct: () => stub });
      module.exports = stub;`;
    bundler.onLoad({ filter: /./, namespace: 'stub' }, () => ({ contents, loader: 'js' }));
  },
};

mkdirSync(out, { recursive: true });
await build({
  entryPoints: ['src/main.tsx'],
  outfile: join(out, 'page.js'),
  ...{ bundle: true, minify: true, format: 'iife', target: 'es2022', jsx: 'automatic', legalComments: 'linked' },
  define: { 'process.env.NODE_ENV': '"production"', 'process.env': '{}', global: 'window' },
  plugins: [stubs],
  logLevel: 'warning',
});
writeFileSync(join(out, 'index.html'), readFileSync('page.html'));
const ui = dirname(createRequire(import.meta.url).resolve('@grafana/ui/package.json'));
const icons = join(out, 'public/build/img/icons');
cpSync(join(ui, 'dist/public/img/icons'), icons, { recursive: true });
// The package lacks this one, which its time range picker shows.
const right = readFileSync(join(icons, 'unicons/angle-double-right.svg'), 'utf8');
writeFileSync(join(icons, 'unicons/angle-double-left.svg'), right.replace('<svg ', '<svg transform="scale(-1 1)" '));
