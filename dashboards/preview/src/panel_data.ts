// The data of a panel: its queries, its field configuration.
import { useEffect, useMemo, useState } from 'react';
import type { DataFrame, FieldConfigSource } from '@grafana/data';
import { query } from './api';
import type { Panel } from './dashboard';
import { configured } from './field_options';
import { frame } from './frame';
import { useView, type View } from './view';

/** A list of alerts has no query and no fields of its own: the server answers with a table. */
const ALERT_LIST = 'alertlist';
const WIDTHS = { Alert: 200, Severity: 90, State: 90, Since: 200, Runbook: 260 };
const OF_ALERTS: FieldConfigSource = {
  defaults: { custom: { wrapText: true } },
  overrides: Object.entries(WIDTHS).map(([options, value]) => ({
    matcher: { id: 'byName', options },
    properties: [{ id: 'custom.width', value }],
  })),
};

interface Asked {
  frames: DataFrame[];
  errors: string[];
  loading: boolean;
}

/** Asks all queries of a panel; one that fails leaves the others. */
async function ask(panel: Panel, view: View, points: number, signal: AbortSignal): Promise<Omit<Asked, 'loading'>> {
  const targets = panel.type === ALERT_LIST ? [{ refId: '' }] : (panel.targets ?? []).filter(({ hide }) => !hide);
  const question = { ...view.asked, panel: panel.id, max_points: panel.maxDataPoints ?? points };
  const answers = await Promise.allSettled(
    targets.map(async (target) => frame(await query({ ...question, target: target.refId }, signal), target)),
  );
  const errors = answers.flatMap((one) => (one.status === 'rejected' ? [String(one.reason?.message ?? one.reason)] : []));
  const frames = answers.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  return { frames, errors };
}

export function usePanelData(panel: Panel, width: number): Asked {
  const view = useView();
  const [asked, set] = useState<Asked>({ frames: [], errors: [], loading: true });
  const { theme, zone, text, round } = view;
  // As in Grafana, a query asks for a point a pixel, and another width asks nothing new.
  const points = Math.max(Math.floor(width / 100) * 100, 100);
  const key = JSON.stringify([view.asked, round]);
  useEffect(() => {
    const stop = new AbortController();
    set((before) => ({ ...before, loading: true }));
    ask(panel, view, points, stop.signal)
      .catch((error) => ({ frames: [], errors: [String(error?.message ?? error)] }))
      .then((answer) => stop.signal.aborted || set({ ...answer, loading: false }));
    return () => stop.abort();
  }, [panel, key]);
  const frames = useMemo(
    () => configured(asked.frames, panel.type === ALERT_LIST ? OF_ALERTS : panel.fieldConfig, { type: panel.type, theme, zone, text }),
    [asked.frames, panel, theme, zone, text],
  );
  return { ...asked, frames };
}
