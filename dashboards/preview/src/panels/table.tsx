// A table: sorting, gauges and links in cells.
import { useMemo } from 'react';
import { FieldType, type DataFrame, type Field } from '@grafana/data';
import { TableNG } from '@grafana/ui/unstable';
import { useView } from '../view';
import type { Drawn } from './drawn';

/** Below this width columns of numbers are as narrow as their values, so that more columns are seen without scrolling. */
const NARROW = 500;
/** Where text columns of a narrow table would be narrower, those with one text in all rows are hidden. */
const TEXT = 80;

/** The columns for a narrow table: the bar of a gauge keeps its room, and texts share the rest. */
function narrowed(frame: DataFrame, width: number): DataFrame {
  const fixed = ({ config: { custom = {} } }: Field) =>
    custom.hideFrom?.viz ? 0 : custom.cellOptions?.type === 'gauge' ? 90 : custom.width <= 90 ? 66 : custom.width;
  const isSame = ({ type, values }: Field) => type === FieldType.string && values.length > 1 && values.every((value) => value === values[0]);
  const differs = frame.fields.some((field) => field.type === FieldType.string && !isSame(field));
  const isTight = differs && frame.fields.reduce((sum, field) => sum + (fixed(field) ?? TEXT), 0) > width;
  const size = (field: Field) => (isTight && isSame(field) ? { hideFrom: { viz: true } } : fixed(field) ? { width: fixed(field) } : { minWidth: 48 });
  const custom = (field: Field) => ({ ...field.config.custom, ...size(field) });
  return { ...frame, fields: frame.fields.map((field) => ({ ...field, config: { ...field.config, custom: custom(field) } })) };
}

export function TableOf({ panel, frames, width, height }: Drawn) {
  const { range } = useView();
  const { options = {}, fieldConfig } = panel;
  const isNarrow = width < NARROW;
  const frame = useMemo(() => {
    const shown = frames.find(({ length }) => length > 0) ?? frames[0];
    return isNarrow ? narrowed(shown, width) : shown;
  }, [frames, isNarrow, width]);
  return (
    <TableNG
      data={frame} width={width} height={height} noHeader={options.showHeader === false} sortBy={options.sortBy}
      cellHeight={options.cellHeight} enablePagination={options.enablePagination}
      frozenColumns={options.frozenColumns?.left} fieldConfig={fieldConfig} timeRange={range}
      noValue={fieldConfig?.defaults.noValue} resizable={true} enableVirtualization={true}
    />
  );
}
