// What the panels of all types are given, and a value with a data link: a click on it follows the link, as in Grafana.
import { formattedValueToString, type DataFrame, type Field, type LinkModel } from '@grafana/data';
import type { ReactNode } from 'react';
import type { Panel } from '../dashboard';

export interface Drawn {
  panel: Panel;
  frames: DataFrame[];
  width: number;
  height: number;
}

export function Linked({ link, children }: { link?: LinkModel; children: ReactNode }) {
  return link ? <a href={link.href} target={link.target} aria-label={link.title} className="linked">{children}</a> : children;
}

/** The first link of a row: of the first field that has one. */
export const linkOfRow = (fields: Field[], row: number): LinkModel | undefined =>
  fields.flatMap((field) => field.getLinks?.({ valueRowIndex: row }) ?? [])[0];

/** A value with its unit. */
export const shown = ({ display }: Field, value: unknown): string =>
  display ? formattedValueToString(display(value)) : String(value ?? '');
