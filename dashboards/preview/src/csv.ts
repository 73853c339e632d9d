// What a panel shows, as a file.
import { CSVHeaderStyle, dateTime, FieldType, getFieldDisplayName, toCSV, type DataFrame, type Field } from '@grafana/data';

/** Values without units, times in ISO 8601, and an apostrophe before a text that a spreadsheet takes for a formula. */
function plain(field: Field, frame: DataFrame, frames: DataFrame[]): Field {
  const text = (value: unknown) => (typeof value === 'string' && /^[=+@\t\r-]/.test(value) ? `'${value}` : value);
  const values = field.values.map((it) => (field.type === FieldType.time ? it && dateTime(it).toISOString() : text(it)));
  return { ...field, name: getFieldDisplayName(field, frame, frames), config: {}, values, display: undefined };
}

export function download(title: string, frames: DataFrame[]): void {
  const data = frames.map((frame) => ({ ...frame, fields: frame.fields.map((field) => plain(field, frame, frames)) }));
  const text = toCSV(data, { headerStyle: CSVHeaderStyle.name, delimiter: ',' });
  const href = URL.createObjectURL(new Blob([text], { type: 'text/csv;charset=utf-8' }));
  Object.assign(document.createElement('a'), { href, download: `${title.replace(/[^\w-]+/g, '_')}.csv` }).click();
  URL.revokeObjectURL(href);
}
