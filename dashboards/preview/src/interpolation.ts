// Grafana's `$name`, `${name:format}` and `${__macro}` in titles and links. Queries are expanded by the server.
import { formattedValueToString, getFieldDisplayName, getFieldDisplayValuesProxy } from '@grafana/data';
import type { DataFrame, DisplayValue, Field, InterpolateFunction, ScopedVars } from '@grafana/data';
import type { Values } from './dashboard';

const PATTERN = /\$(\w+)|\$\{(\w+)((?:\.|\[)[^:}]+)?(?::([^}]+))?\}/g;

/** As `encodeURIComponent`, and without the quotes and brackets that it leaves. */
const percentEncode = (text: string) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);

/** The values of a variable as the text that a format makes of them. */
function formatted(name: string, values: string[], format?: string): string {
  const joined = values.length === 1 ? values[0] : `{${values.join(',')}}`;
  switch (format) {
    case 'queryparam':
      return values.map((value) => `var-${percentEncode(name)}=${percentEncode(value)}`).join('&');
    case 'percentencode':
      return percentEncode(joined);
    case 'uriencode':
      return encodeURI(joined);
    default:
      return format === 'csv' ? values.join(',') : joined;
  }
}

/** What a data link knows of the value that it belongs to. */
interface DataContext {
  frame: DataFrame;
  field: Field;
  data?: DataFrame[];
  rowIndex?: number;
  calculatedValue?: DisplayValue;
}

function ofValue({ field, rowIndex, calculatedValue }: DataContext, [part]: string[]) {
  if (part === 'raw' && rowIndex !== undefined) {
    return field.values[rowIndex];
  }
  const shown = rowIndex === undefined ? calculatedValue : field.display?.(field.values[rowIndex]);
  return part === 'raw' || part === 'numeric' ? shown?.numeric : shown && formattedValueToString(shown);
}

const ofField = ({ frame, field, data }: DataContext, [what, label]: string[]) =>
  what === 'labels' ? field.labels?.[label] : getFieldDisplayName(field, frame, data);

function ofRow({ frame, rowIndex }: DataContext, [what, name, part]: string[]) {
  if (what !== 'fields' || name === undefined || rowIndex === undefined) {
    return;
  }
  const shown = getFieldDisplayValuesProxy({ frame, rowIndex })[name];
  return part === 'numeric' ? shown?.numeric : shown && formattedValueToString(shown);
}

/** `.fields["a b"][0].text` as a list of names. */
const path = (text = '') => [...text.matchAll(/\[["']?(.+?)["']?\]|([^.[\]]+)/g)].map((found) => found[1] ?? found[2]);

export interface Known {
  values: Values;
  /** The texts of the chosen values. */
  texts: Record<string, string>;
  /** The time range as the address has it. */
  from: string;
  to: string;
  zone: string;
  range: { from: number; to: number };
}

export function interpolation({ values, texts, from, to, zone, range }: Known): InterpolateFunction {
  /** Parts of an address, which are encoded already. */
  const addresses: Record<string, string> = {
    __url_time_range: `from=${encodeURIComponent(from)}&to=${encodeURIComponent(to)}&timezone=${encodeURIComponent(zone)}`,
    __all_variables: Object.entries(values).map(([name, chosen]) => formatted(name, chosen, 'queryparam')).join('&'),
  };
  const macros: Record<string, unknown> = { __from: range.from, __to: range.to, __timezone: zone };
  const macro = (name: string, parts: string[], scoped?: ScopedVars): unknown => {
    const context: DataContext | undefined = scoped?.__dataContext?.value;
    const known = { __data: ofRow, __value: ofValue, __field: ofField }[name];
    return known ? context && known(context, parts) : (macros[name] ?? scoped?.[name]?.value);
  };
  return (text, scoped, defaultFormat) =>
    String(text ?? '').replace(PATTERN, (whole, simple, name = simple, parts, format = defaultFormat) => {
      const own = typeof format === 'string' ? format : undefined;
      if (name in addresses) {
        return addresses[name];
      }
      if (name.startsWith('__') || scoped?.[name]) {
        const value = macro(name, path(parts), scoped);
        return value === undefined || value === null ? (scoped ? '' : whole) : formatted(name, [String(value)], own);
      }
      const chosen = values[name];
      return chosen ? (own === 'text' ? (texts[name] ?? '') : formatted(name, chosen, own)) : whole;
    });
}
