// A table: sorting, gauges and links in cells.
import { useMemo } from 'react';
import type { DataFrame, Field } from '@grafana/data';
import { TableNG } from '@grafana/ui/unstable';
import { useView } from '../view';
import type { Drawn } from './drawn';

/** Below this width columns of numbers are as narrow as their values, so that more columns are seen without scrolling. */
const NARROW = 500;

/** The columns for a narrow page; the bar of a gauge keeps its room. */
function narrowed(frame: DataFrame): DataFrame {
  const custom = ({ config: { custom = {} } }: Field) =>
    custom.cellOptions?.type === 'gauge' ? { ...custom, width: 104 } : custom.width <= 90 ? { ...custom, width: 66 } : custom;
  return { ...frame, fields: frame.fields.map((field) => ({ ...field, config: { ...field.config, custom: custom(field) } })) };
}

export function TableOf({ panel, frames, width, height }: Drawn) {
  const { range } = useView();
  const { options = {}, fieldConfig } = panel;
  const isNarrow = width < NARROW;
  const frame = useMemo(() => {
    const shown = frames.find(({ length }) => length > 0) ?? frames[0];
    return isNarrow ? narrowed(shown) : shown;
  }, [frames, isNarrow]);
  return (
    <TableNG
      data={frame} width={width} height={height} noHeader={options.showHeader === false} sortBy={options.sortBy}
      cellHeight={options.cellHeight} enablePagination={options.enablePagination}
      frozenColumns={options.frozenColumns?.left} fieldConfig={fieldConfig} timeRange={range}
      noValue={fieldConfig?.defaults.noValue} resizable={true} enableVirtualization={true}
    />
  );
}
