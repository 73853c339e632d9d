// A row for each series, coloured while it has a value: Grafana's state timeline, which @grafana/ui does not have.
import { dateTimeFormat, FieldType, getFieldDisplayName } from '@grafana/data';
import { useView } from '../view';
import { shown, type Drawn } from './drawn';

const AXIS = 22;
/** Pixels of a letter, of the highest row, and between two times of the axis. */
const [LETTER, ROW, TICK] = [7, 36, 150];
/** A query asks for more points than these, but for none closer than Prometheus reads metrics (ms). */
const [POINTS_MIN, SHORTEST_STEP] = [200, 15_000];

export function Timeline({ frames, width, height }: Drawn) {
  const { theme, zone, range } = useView();
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const rows = frames.flatMap((frame) => {
    const times: number[] = frame.fields.find(({ type }) => type === FieldType.time)?.values ?? [];
    const series = frame.fields.filter(({ type }) => type === FieldType.number);
    return series.map((field) => ({ field, times, name: getFieldDisplayName(field, frame, frames) }));
  });
  const left = Math.min(Math.max(...rows.map(({ name }) => name.length)) * LETTER + 10, width / 3);
  const x = (time: number) => left + ((Math.min(time, to) - from) / (to - from)) * (width - left);
  const moment = (time: number) => dateTimeFormat(time, { timeZone: zone, format: 'MM-DD HH:mm' });
  const high = Math.min((height - AXIS) / rows.length, ROW);
  const ink = { fill: theme.colors.text.secondary, fontSize: 12 };
  const ticks = Array.from({ length: Math.floor((width - left) / TICK) }, (_, nth) => from + (nth * TICK * (to - from)) / (width - left));
  const drawn = rows.map(({ field, times, name }, row) => {
    // A value holds for a step; where no series has a value, the answer has no time at all.
    const step = Math.min(...times.slice(1).map((time, nth) => time - times[nth]), Math.max((to - from) / POINTS_MIN, SHORTEST_STEP));
    const letters = Math.floor((left - 10) / LETTER);
    return (
      <g key={name} shapeRendering="crispEdges">
        <text {...ink} y={(row + 0.5) * high + 4}>{name.length > letters ? `${name.slice(0, letters - 1)}…` : name}</text>
        {times.map((time, nth) => field.values[nth] !== null && (
          <rect key={time} x={x(time)} y={row * high + 2} width={x(time + step) - x(time)} height={high - 4} fill={field.display?.(field.values[nth]).color}>
            <title>{`${name}, ${moment(time)}: ${shown(field, field.values[nth])}`}</title>
          </rect>
        ))}
      </g>
    );
  });
  return (
    <svg width={width} height={height}>
      {drawn}
      {ticks.map((time) => <text key={time} {...ink} x={x(time)} y={rows.length * high + 16}>{moment(time)}</text>)}
    </svg>
  );
}
