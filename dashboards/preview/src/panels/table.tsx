// A table: sorting, gauges and links in cells.
import { useMemo } from 'react';
import { FieldType, type DataFrame, type Field } from '@grafana/data';
import { TableNG } from '@grafana/ui/unstable';
import { useView } from '../view';
import type { Drawn } from './drawn';

/** Below this width columns of numbers are as narrow as their values, so that more columns are seen without scrolling. */
const NARROW = 500;

/** The columns for a narrow page: the bar of a gauge keeps its room, texts share the rest, and one text in all rows has none. */
function narrowed(frame: DataFrame): DataFrame {
  const isSame = ({ type, values }: Field) => type === FieldType.string && values.length > 1 && values.every((value) => value === values[0]);
  const custom = (field: Field) => {
    const { custom = {} } = field.config;
    const width = custom.cellOptions?.type === 'gauge' ? { width: 90 } : custom.width <= 90 ? { width: 64 } : { minWidth: 48 };
    return { ...custom, ...(isSame(field) ? { hideFrom: { viz: true } } : width) };
  };
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
