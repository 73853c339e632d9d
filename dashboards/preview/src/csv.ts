// What a panel shows, as a file.
import { CSVHeaderStyle, dateTime, FieldType, getFieldDisplayName, toCSV, type DataFrame, type Field } from '@grafana/data';

/** Values without units, and times in ISO 8601. */
function plain(field: Field, frame: DataFrame, frames: DataFrame[]): Field {
  const values = field.type === FieldType.time ? field.values.map((at) => at && dateTime(at).toISOString()) : field.values;
  return { ...field, name: getFieldDisplayName(field, frame, frames), config: {}, values, display: undefined };
}

export function download(title: string, frames: DataFrame[]): void {
  const data = frames.map((frame) => ({ ...frame, fields: frame.fields.map((field) => plain(field, frame, frames)) }));
  const text = toCSV(data, { headerStyle: CSVHeaderStyle.name, delimiter: ',' });
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/csv;charset=utf-8' }));
  link.download = `${title.replace(/[^\w-]+/g, '_')}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}
