// Lines, bars and points over time, with annotations.
import { useLayoutEffect } from 'react';
import { TimeSeries, TooltipPlugin, ZoomPlugin, type UPlotConfigBuilder } from '@grafana/ui';
import { useView, type Mark } from '../view';
import type { Drawn } from './drawn';

/** Draws annotations as elements above the plot: a region has a width, a line has none. */
function Marks({ config, marks }: { config: UPlotConfigBuilder; marks: Mark[] }) {
  useLayoutEffect(() => {
    config.addHook('draw', (plot) => {
      plot.over.querySelectorAll('.annotation').forEach((old) => old.remove());
      const { min = 0, max = 0 } = plot.scales.x;
      for (const { from, to, text, color } of marks) {
        if (to < (min ?? 0) || from > (max ?? 0)) {
          continue;
        }
        const at = (time: number) => Math.min(Math.max(plot.valToPos(time, 'x'), 0), plot.over.clientWidth);
        const mark = document.createElement('div');
        mark.className = 'annotation';
        mark.title = text;
        mark.dataset.text = text;
        mark.style.cssText = `left:${at(from)}px;width:${at(to) - at(from)}px;--mark:${color}`;
        plot.over.append(mark);
      }
    });
  }, [config, marks]);
  return null;
}

export function Lines({ panel, frames, width, height }: Drawn) {
  const { range, zone, marks, theme, change } = useView();
  const { options = {} } = panel;
  const legend = { showLegend: true, displayMode: 'list', placement: 'bottom', calcs: [], ...options.legend };
  const shown = marks.map((mark) => ({ ...mark, color: theme.visualization.getColorByName(mark.color) }));
  return (
    <TimeSeries
      frames={frames.filter(({ length }) => length > 0)} width={width} height={height} timeRange={range}
      timeZone={zone} legend={legend} options={{ marks: shown.length }}
    >
      {(config, data) => (
        <>
          <Marks config={config} marks={shown} />
          <ZoomPlugin config={config} onZoom={({ from, to }) => change({ from: String(Math.round(from)), to: String(Math.round(to)) })} />
          <TooltipPlugin config={config} data={data} frames={frames} timeZone={zone} mode={options.tooltip?.mode ?? 'multi'} />
        </>
      )}
    </TimeSeries>
  );
}
