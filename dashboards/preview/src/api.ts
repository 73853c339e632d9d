// What the server answers. The page sends choices, never SQL.
import { tracked } from './activity';
import type { Dashboard, Values } from './dashboard';

export interface Column {
  name: string;
  /** ClickHouse's name of the type; times are seconds since 1970. */
  type: string;
  /** Of a series of Prometheus. */
  labels?: Record<string, string>;
}

export interface Answer {
  columns: Column[];
  rows: unknown[][];
}

export interface Question {
  dashboard: string;
  panel?: number;
  annotation?: string;
  target?: string;
  from: number;
  to: number;
  zone: string;
  max_points?: number;
  values: Values;
}

async function fetched(path: string, options?: RequestInit) {
  const response = await fetch(path, options).catch(() => {
    throw new Error('The server of the preview does not answer; start it again.');
  });
  const body = await response.json().catch(() => ({}));
  if (!response.ok || body.error) {
    throw new Error(body.error ?? `${path}: HTTP ${response.status}`);
  }
  return body;
}

const json = (path: string, options?: RequestInit) => tracked(fetched(path, options));

export const list = (): Promise<{ uid: string; title: string }[]> => json('/api/dashboards');

export const dashboard = (uid: string): Promise<Dashboard> => json(`/api/dashboards/${encodeURIComponent(uid)}`);

export const query = (question: Question, signal?: AbortSignal): Promise<Answer> =>
  json('/api/query', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(question), signal });
