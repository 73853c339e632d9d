// The time range, the zone, how often the page asks again, and light or dark.
import { dateTime, type TimeRange } from '@grafana/data';
import { IconButton, RefreshPicker, TimeRangePicker } from '@grafana/ui';
import { useView } from './view';

/** A bound of a range as the address has it. */
const bound = (raw: TimeRange['raw']['from']) => (typeof raw === 'string' ? raw : String(raw.valueOf()));

export function TimeControls({ again }: { again: () => void }) {
  const { range, zone, change, address, theme, asked } = useView();
  const set = (from: number, to: number) => change({ from: String(Math.round(from)), to: String(Math.round(to)) });
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const span = to - from;
  const chosen = ({ raw }: TimeRange) => change({ from: bound(raw.from), to: bound(raw.to) });
  const other = theme.isDark ? 'light' : 'dark';
  return (
    <div className="controls">
      <TimeRangePicker
        value={range} timeZone={zone} onChange={chosen} onChangeTimeZone={(zone) => change({ zone })}
        onMoveBackward={() => set(from - span / 2, to - span / 2)}
        onMoveForward={() => set(from + span / 2, Math.min(to + span / 2, dateTime().valueOf() + span))}
        onZoom={() => set(from - span / 2, to + span / 2)} isOnCanvas={true}
      />
      <span className="zone">{asked.zone}</span>
      <RefreshPicker
        value={address.refresh} intervals={['5s', '15s', '30s', '1m', '5m']} onRefresh={again}
        onIntervalChanged={(refresh) => change({ refresh })} isOnCanvas={true}
      />
      <IconButton
        name="adjust-circle" size="lg" tooltip={`Change to the ${other} theme`}
        onClick={() => change({ theme: other })}
      />
    </div>
  );
}
