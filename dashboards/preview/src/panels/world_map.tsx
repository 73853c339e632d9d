// Circles on a map of the world. Grafana's own map needs tiles of a server; here the outlines of countries
// are in the page.
import { geoArea, geoCentroid, geoNaturalEarth1, geoPath } from 'd3-geo';
import codes from 'i18n-iso-countries/codes.json';
import { useMemo } from 'react';
import { feature } from 'topojson-client';
import world from 'world-atlas/countries-50m.json';
import { FieldType } from '@grafana/data';
import { useView } from '../view';
import { Linked, linkOfRow, shown, type Drawn } from './drawn';

// The types of a topology do not fit those of its JSON file.
const COUNTRIES = (feature(world as any, (world as any).objects.countries) as any).features as any[];

type Place = [number, number];

/** The middle of the largest part, so that France is in Europe. */
function middle({ geometry }: any): Place {
  const parts = geometry.type === 'MultiPolygon' ? geometry.coordinates : [geometry.coordinates];
  const shapes = parts.map((coordinates: unknown) => ({ type: 'Polygon', coordinates }));
  return geoCentroid(shapes.reduce((most: any, one: any) => (geoArea(one) > geoArea(most) ? one : most)));
}

/** Places by the two and the three letters of a country, and by its name. */
const PLACES = new Map<string, Place>();

function placeOf(country: string): Place | undefined {
  if (PLACES.size === 0) {
    const letters = new Map((codes as string[][]).map(([two, three, number]) => [number, [two, three]]));
    // Of parts with the same number the largest is last: Australia, not its islands.
    for (const one of [...COUNTRIES].sort((a, b) => geoArea(a) - geoArea(b))) {
      const at = middle(one);
      [...(letters.get(String(one.id).padStart(3, '0')) ?? []), one.properties.name].forEach((name) => PLACES.set(name.toUpperCase(), at));
    }
  }
  return PLACES.get(country.toUpperCase());
}

export function WorldMap({ panel, frames, width, height }: Drawn) {
  const { theme } = useView();
  const { location, config } = panel.options?.layers?.[0] ?? {};
  const style = config?.style ?? {};
  const frame = frames[0];
  const number = frame.fields.find(({ name }) => name === style.size?.field) ?? frame.fields.find(({ type }) => type === FieldType.number);
  const [project, outlines] = useMemo(() => {
    const projection = geoNaturalEarth1();
    const inhabited = COUNTRIES.filter(({ properties }) => properties.name !== 'Antarctica');
    projection.fitSize([width, height], { type: 'FeatureCollection', features: inhabited } as any);
    return [projection, geoPath(projection)({ type: 'FeatureCollection', features: inhabited } as any) ?? ''] as const;
  }, [width, height]);
  const country = frame.fields.find(({ name }) => name === location?.lookup) ?? frame.fields[0];
  const { min = 4, max = 20 } = style.size ?? {};
  const most = Math.max(1e-9, ...(number?.values ?? []).map(Number));
  const color = (value: unknown) =>
    style.color?.fixed ? theme.visualization.getColorByName(style.color.fixed) : (number?.display?.(value).color ?? theme.colors.primary.main);
  const circles = Array.from({ length: frame.length }, (_, row) => {
    const place = placeOf(String(country.values[row]));
    const point = place && project(place);
    const value = number?.values[row];
    const texts = frame.fields.map((field) => `${field.config.displayName ?? field.name}: ${shown(field, field.values[row])}`);
    return (
      point && (
        <Linked key={row} link={linkOfRow(frame.fields, row)}>
          <circle
            cx={point[0]} cy={point[1]} r={min + (max - min) * (Number(value ?? 0) / most)} fill={color(value)}
            fillOpacity={style.opacity ?? 0.4} stroke={color(value)}
          >
            <title>{texts.join('\n')}</title>
          </circle>
        </Linked>
      )
    );
  });
  return (
    <svg width={width} height={height}>
      <path d={outlines} fill={theme.colors.background.secondary} stroke={theme.colors.border.medium} strokeWidth={0.5} />
      {circles}
    </svg>
  );
}
