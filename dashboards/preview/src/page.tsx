// The page: what the address names.
import { useEffect, useMemo, useState } from 'react';
import { createTheme, rangeUtil, setTimeZoneResolver, ThemeContext } from '@grafana/data';
import { Alert, GlobalStyles, PortalContainer } from '@grafana/ui';
import { format, go, range as rangeOf, useAddress, type Address } from './address';
import { dashboard as load, list } from './api';
import { defaults, type Dashboard } from './dashboard';
import { Grid } from './grid';
import { interpolation } from './interpolation';
import { useMarks } from './marks';
import { Navigation } from './navigation';
import { Guard } from './panel';
import { TimeControls } from './time_controls';
import { VariableBar } from './variable_bar';
import { ViewProvider, type View } from './view';

const themes = { dark: createTheme({ colors: { mode: 'dark' } }), light: createTheme({ colors: { mode: 'light' } }) };
const KEPT = 'preview.theme';
/** As in Grafana. */
const SHORTEST_REFRESH_MS = 5000;
const NO_RANGE = 'The time range ends before it begins, or a bound is no time: choose another one.';

/** The zone of the address; `setTimeZoneResolver` makes it that of Grafana's formats. */
function zoneName(zone: string): string {
  return zone === 'browser' ? Intl.DateTimeFormat().resolvedOptions().timeZone : zone === 'utc' ? 'UTC' : zone;
}

function Shown({ dashboard, address, theme }: Pick<View, 'dashboard' | 'address' | 'theme'>) {
  const [round, again] = useState(0);
  const next = () => again((before) => before + 1);
  const zone = address.zone || dashboard.timezone || 'browser';
  const { from = dashboard.time?.from ?? 'now-24h', to = dashboard.time?.to ?? 'now' } = address;
  setTimeZoneResolver(() => zone);
  const range = useMemo(() => rangeOf(from, to, zone), [from, to, zone, round, dashboard]);
  const values = useMemo(() => ({ ...defaults(dashboard), ...address.values }), [dashboard, JSON.stringify(address.values)]);
  const bounds = { from: range.from.valueOf(), to: range.to.valueOf() };
  const text = useMemo(() => {
    const current = dashboard.templating.list.map(({ name, options }) => {
      const labels = values[name].map((value) => options?.find((option) => option.value === value)?.text ?? value);
      return [name, labels.join(' + ')] as const;
    });
    return interpolation({ values, texts: Object.fromEntries(current), from, to, zone, range: bounds });
  }, [dashboard, values, from, to, zone, bounds.from, bounds.to]);
  const refresh = address.refresh ?? dashboard.refresh;
  useEffect(() => {
    const wait = refresh && rangeUtil.isValidTimeSpan(refresh) ? rangeUtil.intervalToMs(refresh) : 0;
    const timer = wait > 0 ? window.setInterval(next, Math.max(wait, SHORTEST_REFRESH_MS)) : undefined;
    return () => window.clearInterval(timer);
  }, [refresh]);
  const asked = { dashboard: dashboard.uid, ...bounds, zone: zoneName(zone), values };
  const { marks, switches } = useMarks(dashboard, asked, round);
  const change = (part: Partial<Address>) => go(format({ ...address, from, to, ...part }));
  const view = { dashboard, address: { ...address, refresh }, range, zone, theme, values, text, marks, asked, round, change };
  return (
    <ViewProvider value={view}>
      <header>
        <h1>{dashboard.title}</h1>
        <span className="preview">Preview without Grafana: the same dashboard files, drawn by this page.</span>
        <TimeControls again={next} />
      </header>
      <div className="bar">
        <VariableBar>{switches}</VariableBar>
        <Navigation />
      </div>
      {bounds.from <= bounds.to ? <Grid key={dashboard.uid} panels={dashboard.panels} /> : <Alert severity="error" title={NO_RANGE} />}
    </ViewProvider>
  );
}

export function Page() {
  const address = useAddress();
  const [first, setFirst] = useState<string>();
  const [loaded, setLoaded] = useState<Dashboard>();
  const [error, setError] = useState<string>();
  const uid = address.uid || first;
  useEffect(() => {
    address.uid || list().then(([{ uid }]) => setFirst(uid), (failed) => setError(failed.message));
  }, [address.uid]);
  useEffect(() => {
    if (uid) {
      load(uid).then((dashboard) => (setLoaded(dashboard), setError(undefined)), (failed) => setError(failed.message));
    }
  }, [uid]);
  const preferred = window.matchMedia('(prefers-color-scheme: light)').matches ? 'light' : 'dark';
  const chosen = address.theme ?? window.localStorage.getItem(KEPT) ?? preferred;
  const theme = themes[chosen === 'light' ? 'light' : 'dark'];
  useEffect(() => {
    address.theme && window.localStorage.setItem(KEPT, address.theme);
  }, [address.theme]);
  document.title = `${loaded?.title ?? 'Dashboards'} – Clicktrail (preview)`;
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <main style={{ background: theme.colors.background.canvas, color: theme.colors.text.primary }}>
        {error && <Alert severity="error" title={error} />}
        <Guard of={window.location.href}>
          {loaded && loaded.uid === uid && <Shown dashboard={loaded} address={{ ...address, uid }} theme={theme} />}
        </Guard>
      </main>
      <PortalContainer />
    </ThemeContext.Provider>
  );
}
