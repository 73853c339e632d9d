// A dashboard as its JSON file has it; only what the preview reads.
import type { FieldConfigSource } from '@grafana/data';

export interface Target {
  refId: string;
  legendFormat?: string;
  hide?: boolean;
}

export interface Link {
  title: string;
  url?: string;
  keepTime?: boolean;
  includeVars?: boolean;
}

export interface Panel {
  id: number;
  type: string;
  title?: string;
  description?: string;
  gridPos: { x: number; y: number; w: number; h: number };
  fieldConfig?: FieldConfigSource;
  // Each type of panel has its own.
  options?: any;
  targets?: Target[];
  maxDataPoints?: number;
  transparent?: boolean;
  collapsed?: boolean;
  panels?: Panel[];
  links?: Link[];
}

export interface Variable {
  name: string;
  type: string;
  label?: string;
  description?: string;
  /** 0: shown, 1: without its label, 2: not shown. */
  hide?: number;
  query?: unknown;
  current?: { value?: string | string[] };
  options?: { text: string; value: string }[];
}

export interface Annotation {
  name: string;
  enable?: boolean;
  iconColor?: string;
  builtIn?: number;
}

export interface Dashboard {
  uid: string;
  title: string;
  panels: Panel[];
  templating: { list: Variable[] };
  annotations?: { list: Annotation[] };
  links?: Link[];
  time?: { from: string; to: string };
  timezone?: string;
  refresh?: string;
}

/** The chosen values of the variables. */
export type Values = Record<string, string[]>;

/** The values of variables that no one has chosen. */
export function defaults({ templating }: Dashboard): Values {
  const value = ({ type, current, query }: Variable) => current?.value ?? (type === 'textbox' ? String(query ?? '') : '');
  return Object.fromEntries(templating.list.map((variable) => [variable.name, [value(variable)].flat()]));
}
