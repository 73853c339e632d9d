// Answers of the server as Grafana's data frames.
import { createDataFrame, FieldType, sortDataFrame, type DataFrame, type Field } from '@grafana/data';
import type { Answer, Column } from './api';
import type { Target } from './dashboard';

const bare = (type: string): string => {
  const inner = /^(?:LowCardinality|Nullable)\((.*)\)$/.exec(type);
  return inner ? bare(inner[1]) : type;
};

function kind(type: string): FieldType {
  if (/^(Date|DateTime)/.test(type)) {
    return FieldType.time;
  }
  return /^(U?Int|Float|Decimal)/.test(type) ? FieldType.number : type === 'Bool' ? FieldType.boolean : FieldType.string;
}

/** One cell: 64-bit numbers may come as text, times as seconds or as a day. */
function cell(value: unknown, type: FieldType, name: string): unknown {
  if (value === null || value === undefined) {
    return null;
  }
  switch (type) {
    case FieldType.number:
      return Number(value);
    case FieldType.time:
      return /^Date(32)?$/.test(name) ? Date.parse(`${value}T00:00:00Z`) : Number(value) * 1000;
    case FieldType.string:
      return typeof value === 'object' ? JSON.stringify(value) : String(value);
    default:
      return value;
  }
}

function field({ name, type, labels }: Column, index: number, rows: unknown[][]): Field {
  const plain = bare(type);
  const own = kind(plain);
  return { name, type: own, labels, config: {}, values: rows.map((row) => cell(row[index], own, plain)) };
}

/** A series for each combination of the labels of a result with time, labels and values. */
function wide(frame: DataFrame): DataFrame {
  const time = frame.fields.find(({ type }) => type === FieldType.time);
  const labels = frame.fields.filter(({ type }) => type === FieldType.string);
  const numbers = frame.fields.filter(({ type }) => type === FieldType.number);
  if (!time || labels.length === 0 || numbers.length === 0) {
    return frame;
  }
  const times = [...new Set<number>(time.values)].sort((one, other) => one - other);
  const places = new Map(times.map((at, index) => [at, index]));
  const series = new Map<string, Field>();
  for (let row = 0; row < frame.length; row++) {
    const own = Object.fromEntries(labels.map(({ name, values }) => [name, values[row]]));
    for (const { name, values } of numbers) {
      const key = JSON.stringify([name, own]);
      const made = () => ({ name, type: FieldType.number, labels: own, config: {}, values: Array(times.length).fill(null) });
      const one = series.get(key) ?? made();
      series.set(key, one);
      one.values[places.get(time.values[row])!] = values[row];
    }
  }
  return createDataFrame({ refId: frame.refId, fields: [{ ...time, values: times }, ...series.values()] });
}

const isSeries = ({ format, queryType }: Target) =>
  format === 0 || format === 'time_series' || (format === undefined && queryType === 'timeseries');

/** `{{name}}` of a legend of Prometheus. */
const legend = (text: string, labels: Record<string, string>) =>
  text.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? '');

export function frame(answer: Answer, target: Target): DataFrame {
  const fields = answer.columns.map((column, index) => field(column, index, answer.rows));
  for (const { type, labels, config } of fields) {
    if (type === FieldType.number && target.legendFormat && target.legendFormat !== '__auto') {
      config.displayNameFromDS = legend(target.legendFormat, labels ?? {});
    }
  }
  const made = createDataFrame({ refId: target.refId, fields });
  if (!isSeries(target)) {
    return made;
  }
  const time = made.fields.findIndex(({ type }) => type === FieldType.time);
  return wide(time < 0 ? made : sortDataFrame(made, time));
}
