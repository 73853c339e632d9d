// A table: sorting, gauges and links in cells.
import { TableNG } from '@grafana/ui/unstable';
import { useView } from '../view';
import type { Drawn } from './drawn';

export function TableOf({ panel, frames, width, height }: Drawn) {
  const { range } = useView();
  const { options = {}, fieldConfig } = panel;
  const frame = frames.find(({ length }) => length > 0) ?? frames[0];
  return (
    <TableNG
      data={frame} width={width} height={height} noHeader={options.showHeader === false} sortBy={options.sortBy}
      cellHeight={options.cellHeight} enablePagination={options.enablePagination}
      frozenColumns={options.frozenColumns?.left} fieldConfig={fieldConfig} timeRange={range}
      noValue={fieldConfig?.defaults.noValue} resizable={true} enableVirtualization={true}
    />
  );
}
