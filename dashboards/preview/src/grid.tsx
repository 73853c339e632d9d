// The panels in Grafana's grid of 24 columns, or one below the other on a narrow page.
import { useEffect, useLayoutEffect, useRef, useState } from 'react';
import { IconButton } from '@grafana/ui';
import { shown } from './activity';
import type { Panel as Model } from './dashboard';
import { Panel } from './panel';
import { useView } from './view';

const COLUMNS = 24;
const GAP = 8;
/** Height of a row of the grid, with its gap. */
const ROW = 38;
/** Below this width there is one column. */
const NARROW = 800;

interface Section {
  row?: Model;
  panels: Model[];
}

/** Panels below a row belong to it; those of a collapsed one are in it. */
function sections(panels: Model[]): Section[] {
  const sorted = [...panels].sort((a, b) => a.gridPos.y - b.gridPos.y || a.gridPos.x - b.gridPos.x);
  const all: Section[] = [{ panels: [] }];
  for (const panel of sorted) {
    if (panel.type === 'row') {
      all.push({ row: panel, panels: [...(panel.panels ?? [])] });
    } else {
      all[all.length - 1].panels.push(panel);
    }
  }
  return all.filter(({ row, panels }) => row || panels.length > 0);
}

function Panels({ panels, width }: { panels: Model[]; width: number }) {
  const isNarrow = width < NARROW;
  const column = (width + GAP) / COLUMNS;
  const top = Math.min(...panels.map(({ gridPos }) => gridPos.y));
  const end = Math.max(...panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  const drawn = panels.map((panel) => {
    const { x, y, w, h } = panel.gridPos;
    // On a narrow page the values of a panel are in three columns, which need more rows.
    const values = panel.type === 'stat' ? (panel.fieldConfig?.overrides.length ?? 0) : 0;
    const rows = isNarrow ? Math.max(h, Math.ceil(values / 3) * 3) : h;
    const size = { width: isNarrow ? width : Math.floor(w * column - GAP), height: rows * ROW - GAP };
    const place = isNarrow ? size : { ...size, position: 'absolute' as const, left: Math.round(x * column), top: (y - top) * ROW };
    return (
      <div key={panel.id} style={place}>
        <Panel panel={panel} {...size} />
      </div>
    );
  });
  return <div className={isNarrow ? 'column' : 'grid'} style={isNarrow ? {} : { height: (end - top) * ROW - GAP }}>{drawn}</div>;
}

function Part({ section: { row, panels }, width }: { section: Section; width: number }) {
  const { text } = useView();
  const [isOpen, open] = useState(!row?.collapsed);
  const title = text(row?.title ?? '');
  return (
    <>
      {row && (
        <h2 className="row">
          <IconButton name={isOpen ? 'angle-down' : 'angle-right'} tooltip={isOpen ? 'Collapse' : 'Expand'} onClick={() => open(!isOpen)} />
          {title}
        </h2>
      )}
      {isOpen && panels.length > 0 && <Panels panels={panels} width={width} />}
    </>
  );
}

/** The width that an element has. */
function useWidth() {
  const element = useRef<HTMLDivElement>(null);
  const [width, set] = useState(0);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => set(Math.floor(entry.contentRect.width)));
    element.current && observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return [element, width] as const;
}

export function Grid({ panels }: { panels: Model[] }) {
  const [element, width] = useWidth();
  useEffect(() => {
    shown(width > 0);
    return () => shown(false);
  }, [width > 0]);
  return (
    <div ref={element} className="panels">
      {width > 0 && sections(panels).map((section, index) => <Part key={section.row?.id ?? `top${index}`} section={section} width={width} />)}
    </div>
  );
}
