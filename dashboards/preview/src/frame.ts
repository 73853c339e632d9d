// Answers of the server as Grafana's data frames.
import { createDataFrame, FieldType, type DataFrame, type Field } from '@grafana/data';
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

/** Numbers that JSON has not, as ClickHouse writes them. */
const INFINITE: Record<string, number> = { inf: Infinity, '-inf': -Infinity };

/** One cell: 64-bit numbers, NaN and infinities may come as text, times as seconds or as a day. */
function cell(value: unknown, type: FieldType, name: string): unknown {
  if (value === null || value === undefined) {
    return null;
  }
  switch (type) {
    case FieldType.number:
      return INFINITE[String(value)] ?? Number(value);
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
  return createDataFrame({ refId: target.refId, fields });
}
