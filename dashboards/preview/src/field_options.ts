// The options of fields that overrides can set. Outside Grafana the registry of them is empty, and units,
// thresholds and mappings would have no effect; so a panel's own is made of what its JSON uses.
import { applyFieldOverrides, cacheFieldDisplayNames, FieldConfigOptionsRegistry } from '@grafana/data';
import type { DataFrame, FieldConfigPropertyItem, FieldConfigSource, FieldOverrideContext } from '@grafana/data';
import type { GrafanaTheme2, InterpolateFunction, ThresholdsConfig } from '@grafana/data';

const STANDARD = [
  ...['unit', 'min', 'max', 'fieldMinMax', 'decimals', 'displayName', 'noValue', 'thresholds', 'mappings', 'links'],
  ...['color', 'filterable', 'description'],
];
const CUSTOM = 'custom.';

/** Grafana's defaults of each panel type, without which a chart has no lines. */
const OF_TYPE: Record<string, Record<string, unknown>> = {
  timeseries: {
    ...{ drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, gradientMode: 'none' },
    ...{ spanNulls: false, showPoints: 'auto', pointSize: 5, stacking: { mode: 'none', group: 'A' } },
    ...{ axisPlacement: 'auto', axisColorMode: 'text', scaleDistribution: { type: 'linear' } },
    thresholdsStyle: { mode: 'off' },
    hideFrom: { legend: false, tooltip: false, viz: false },
  },
  table: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false },
};

const THRESHOLDS = { mode: 'absolute', steps: [{ value: null, color: 'green' }, { value: 80, color: 'red' }] };

function registry(custom: string[], text: InterpolateFunction): FieldConfigOptionsRegistry {
  const item = (id: string, isCustom: boolean) => ({
    id,
    path: isCustom ? id.slice(CUSTOM.length) : id,
    name: id,
    isCustom,
    shouldApply: () => true,
    process: (value: unknown, { field }: FieldOverrideContext) =>
      id === 'displayName' && typeof value === 'string' ? text(value, field?.state?.scopedVars) : value,
  });
  const all = [...STANDARD.map((id) => item(id, false)), ...custom.map((id) => item(id, true))];
  return new FieldConfigOptionsRegistry(() => all as unknown as FieldConfigPropertyItem[]);
}

/** The frames with the configuration of a panel applied to their fields. */
export function configured(
  data: DataFrame[],
  source: FieldConfigSource | undefined,
  { type, theme, zone, text }: { type: string; theme: GrafanaTheme2; zone: string; text: InterpolateFunction },
): DataFrame[] {
  const { defaults = {}, overrides = [] } = source ?? {};
  const own = { ...OF_TYPE[type], ...(defaults.custom as object) };
  const set = overrides.flatMap(({ properties }) => properties.map(({ id }) => id)).filter((id) => id.startsWith(CUSTOM));
  const custom = new Set([...Object.keys(own).map((name) => CUSTOM + name), ...set]);
  const { mode, steps } = defaults.thresholds ?? (THRESHOLDS as ThresholdsConfig);
  // JSON has no infinity: the first step has `null`.
  const thresholds = { mode, steps: steps.map((step) => ({ ...step, value: step.value ?? -Infinity })) };
  const color = { mode: type === 'timeseries' ? 'palette-classic' : 'thresholds' };
  const frames = applyFieldOverrides({
    ...{ data, theme, timeZone: zone, replaceVariables: text, fieldConfigRegistry: registry([...custom], text) },
    fieldConfig: { defaults: { color, ...defaults, thresholds, custom: own }, overrides },
  });
  for (const { config } of frames.flatMap(({ fields }) => fields)) {
    // The older name of the option, which Grafana's table panel still takes.
    if (config.custom?.hidden) {
      config.custom.hideFrom = { viz: true };
    }
  }
  cacheFieldDisplayNames(frames);
  return frames;
}
