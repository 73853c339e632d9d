// Cells whose colour is a value: a row of cells for each column of numbers but the first one. @grafana/ui has no heat map.
import * as schemes from 'd3-scale-chromatic';
import { FieldType, getFieldDisplayName, type GrafanaTheme2 } from '@grafana/data';
import { useView } from '../view';
import { Linked, linkOfRow, shown, type Drawn } from './drawn';

/** The colour of a share of the maximum, by the panel's options. */
function coloring({ mode, scheme, fill, exponent = 1, reverse }: any, theme: GrafanaTheme2): (share: number) => string {
  const ramp = (schemes as unknown as Record<string, unknown>)[`interpolate${scheme ?? 'Oranges'}`];
  const base = theme.visualization.getColorByName(fill ?? 'dark-orange');
  if (mode === 'opacity' || typeof ramp !== 'function') {
    return (share) => `color-mix(in srgb, ${base} ${Math.round(share ** exponent * 100)}%, transparent)`;
  }
  // Grafana turns the schemes of one hue around on a dark page.
  const isTurned = theme.isDark !== Boolean(reverse);
  return (share) => ramp(isTurned ? 1 - share ** exponent : share ** exponent);
}

export function HeatMap({ panel, frames: [frame], width, height }: Drawn) {
  const { theme } = useView();
  const { options = {} } = panel;
  const [x, ...numbers] = frame.fields;
  const rows = numbers.filter(({ type }) => type === FieldType.number);
  if (rows.length === 0) {
    throw new Error('its data has no column of numbers');
  }
  const names = rows.map((field) => getFieldDisplayName(field, frame));
  const most = Math.max(1e-9, ...rows.flatMap(({ values }) => values.map(Number)));
  const color = coloring(options.color ?? {}, theme);
  const left = Math.min(Math.max(...names.map((name) => name.length)) * 7 + 10, width / 3);
  const wide = Math.max(width - left - 8, 1) / frame.length;
  const high = Math.max(height - 22, 1) / rows.length;
  const gap = options.cellGap ?? 1;
  const every = Math.ceil(28 / wide);
  const ink = { fill: theme.colors.text.secondary, fontSize: 12 };
  // The first row is at the bottom, as on other axes, if the panel does not turn it around.
  const top = (row: number) => (options.yAxis?.reverse ? row : rows.length - 1 - row) * high;
  return (
    <svg width={width} height={height}>
      {rows.map((field, row) => (
        <g key={names[row]}>
          <text {...ink} x={left - 6} y={top(row) + high / 2 + 4} textAnchor="end">{names[row]}</text>
          {field.values.map((value, column) => (
            <Linked key={column} link={linkOfRow([field], column)}>
              <rect
                x={left + column * wide + gap / 2} y={top(row) + gap / 2} width={Math.max(wide - gap, 0.5)}
                height={Math.max(high - gap, 0.5)}
                fill={value > (options.filterValues?.le ?? 0) ? color(value / most) : theme.colors.background.secondary}
              >
                <title>{`${names[row]}, ${shown(x, x.values[column])}: ${shown(field, value)}`}</title>
              </rect>
            </Linked>
          ))}
        </g>
      ))}
      {x.values.map((value, column) =>
        // As in Grafana, a number of the first column is the middle of its cells.
        column % every === 0 ? (
          <text key={column} {...ink} x={left + (column + 0.5) * wide} y={height - 6} textAnchor="middle">{shown(x, value)}</text>
        ) : null,
      )}
    </svg>
  );
}
