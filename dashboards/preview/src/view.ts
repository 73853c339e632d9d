// What a viewer looks at: a dashboard, a time range, a zone and the chosen values. Panels read it.
import { createContext, useContext } from 'react';
import type { GrafanaTheme2, InterpolateFunction, TimeRange } from '@grafana/data';
import type { Address } from './address';
import type { Question } from './api';
import type { Dashboard, Values } from './dashboard';

/** A vertical line, or a region, of a chart over time. */
export interface Mark {
  from: number;
  /** The same as `from` for a line. */
  to: number;
  text: string;
  color: string;
}

export interface View {
  dashboard: Dashboard;
  address: Address;
  range: TimeRange;
  /** `browser`, `utc` or a name, for Grafana's formats. */
  zone: string;
  theme: GrafanaTheme2;
  values: Values;
  text: InterpolateFunction;
  marks: Mark[];
  /** What every question to the server has. */
  asked: Question;
  /** Another number asks everything again. */
  round: number;
  /** Changes the address. */
  change: (change: Partial<Address>) => void;
}

const Context = createContext<View | undefined>(undefined);

export const ViewProvider = Context.Provider;

export function useView(): View {
  const view = useContext(Context);
  if (!view) {
    throw new Error('no view around this component');
  }
  return view;
}
