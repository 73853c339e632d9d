// The state of the page, which is its address: dashboard, time range, zone and variables, as in Grafana.
import { useSyncExternalStore } from 'react';
import { dateTime, rangeUtil, type TimeRange } from '@grafana/data';
import { moved } from './activity';
import type { Values } from './dashboard';

export interface Address {
  /** Empty at the start. */
  uid: string;
  from?: string;
  to?: string;
  /** `browser`, `utc` or a name such as `Europe/Berlin`. */
  zone?: string;
  theme?: string;
  refresh?: string;
  values: Values;
}

const NAMES = { from: 'from', to: 'to', zone: 'timezone', theme: 'theme', refresh: 'refresh' } as const;
const VARIABLE = 'var-';

/** The uid in an address. One that cannot be decoded is kept as it is: no dashboard has it. */
function decoded(uid: string): string {
  try {
    return decodeURIComponent(uid);
  } catch {
    return uid;
  }
}

export function parse(url: URL): Address {
  // Without a prototype, whose properties would be values of variables with their names.
  const values: Values = Object.create(null);
  for (const [name, value] of url.searchParams) {
    if (name.startsWith(VARIABLE)) {
      (values[name.slice(VARIABLE.length)] ??= []).push(value);
    }
  }
  const [, folder, uid] = url.pathname.split('/');
  const named = Object.entries(NAMES).map(([key, name]) => [key, url.searchParams.get(name) ?? undefined]);
  return { uid: folder === 'd' ? decoded(uid ?? '') : '', values, ...Object.fromEntries(named) };
}

export function format({ uid, values, ...rest }: Address): string {
  const query = new URLSearchParams();
  for (const [key, name] of Object.entries(NAMES)) {
    const value = rest[key as keyof typeof NAMES];
    if (value) {
      query.set(name, value);
    }
  }
  for (const [name, chosen] of Object.entries(values)) {
    chosen.forEach((value) => query.append(VARIABLE + name, value));
  }
  return `/d/${encodeURIComponent(uid)}?${query}`;
}

const MOVED = 'preview:moved';

/** Shows another address without loading the page again. */
export function go(url: string): void {
  moved();
  window.history.pushState(null, '', url);
  window.dispatchEvent(new Event(MOVED));
}

export function useAddress(): Address {
  const listen = (changed: () => void) => {
    window.addEventListener('popstate', moved);
    const events = ['popstate', MOVED];
    events.forEach((name) => window.addEventListener(name, changed));
    return () => events.forEach((name) => window.removeEventListener(name, changed));
  };
  return parse(new URL(useSyncExternalStore(listen, () => window.location.href)));
}

/** Links between dashboards change the address instead of loading the page. */
export function followLinks(): void {
  document.addEventListener('click', (click) => {
    const link = (click.target as Element | null)?.closest?.('a[href]');
    const changed = click.button !== 0 || click.metaKey || click.ctrlKey || click.shiftKey;
    if (!link || changed || link.getAttribute('target') === '_blank' || click.defaultPrevented) {
      return;
    }
    // A link in SVG has no properties of an address.
    const { origin, pathname, search } = new URL(link.getAttribute('href') ?? '', window.location.href);
    if (origin === window.location.origin && pathname.startsWith('/d/')) {
      click.preventDefault();
      go(pathname + search);
    }
  });
}

/** A time of the address: `now-1d/d`, milliseconds, or ISO 8601. */
function time(text: string) {
  return Number.isFinite(Number(text)) ? dateTime(Math.round(Number(text))) : text.startsWith('now') ? text : dateTime(text);
}

export function range(from: string, to: string, zone: string): TimeRange {
  const raw = { from: time(from), to: time(to) };
  return { ...rangeUtil.convertRawToRange(raw, zone), raw };
}
