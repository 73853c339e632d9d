// Large values with a line behind them, and a bar for each value.
import { getDisplayValueAlignmentFactors, getFieldDisplayValues, VizOrientation, type FieldDisplay } from '@grafana/data';
import { BarGauge, BigValue, VizRepeater, type VizRepeaterRenderValueProps } from '@grafana/ui';
import type { ReactNode } from 'react';
import { useView } from '../view';
import { Linked, type Drawn } from './drawn';

type Factors = ReturnType<typeof getDisplayValueAlignmentFactors>;
type One = VizRepeaterRenderValueProps<FieldDisplay, Factors>;

function Values({ panel, frames, width, height, children }: Drawn & { children: (one: One) => ReactNode }) {
  const { theme, text, zone } = useView();
  const { type, options = {}, fieldConfig } = panel;
  const isStat = type === 'stat';
  const values = () =>
    getFieldDisplayValues({
      ...{ data: frames, replaceVariables: text, theme, timeZone: zone },
      reduceOptions: options.reduceOptions ?? { calcs: ['lastNotNull'] },
      fieldConfig: fieldConfig ?? { defaults: {}, overrides: [] },
      sparkline: isStat && options.graphMode !== 'none',
      percentChange: isStat && options.showPercentChange,
    });
  return (
    <VizRepeater<FieldDisplay, Factors>
      getValues={values} getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={(one) => <Linked link={one.value.getLinks?.()[0]}>{children(one)}</Linked>} source={frames}
      renderCounter={0} autoGrid={isStat} itemSpacing={8}
      minVizHeight={isStat ? undefined : (options.minVizHeight ?? 16)}
      maxVizHeight={isStat ? undefined : (options.maxVizHeight ?? 300)}
      orientation={options.orientation ?? (isStat ? VizOrientation.Auto : VizOrientation.Horizontal)} width={width}
      height={height}
    />
  );
}

export function Stats(props: Drawn) {
  const { theme, range } = useView();
  const { options = {} } = props.panel;
  return (
    <Values {...props}>
      {({ value: { display, sparkline }, width, height, alignmentFactors, count }) => (
        <BigValue
          value={display} sparkline={sparkline && { ...sparkline, timeRange: range }} count={count} width={width}
          height={height} theme={theme} colorMode={options.colorMode ?? 'value'}
          graphMode={options.graphMode ?? 'area'} justifyMode={options.justifyMode ?? 'auto'}
          textMode={options.textMode ?? 'auto'} text={options.text}
          percentChangeColorMode={options.percentChangeColorMode} disableWideLayout={options.wideLayout === false}
          alignmentFactors={alignmentFactors}
        />
      )}
    </Values>
  );
}

export function BarGauges(props: Drawn) {
  const { theme } = useView();
  const { options = {} } = props.panel;
  return (
    <Values {...props}>
      {({ value, width, height, alignmentFactors, orientation, count }) => (
        <BarGauge
          value={value.display} field={value.field}
          display={value.view?.getFieldDisplayProcessor(value.colIndex ?? 0)} width={width} height={height}
          orientation={orientation} theme={theme} text={options.text} itemSpacing={8}
          displayMode={options.displayMode ?? 'gradient'} showUnfilled={options.showUnfilled ?? true}
          valueDisplayMode={options.valueMode ?? 'color'} namePlacement={options.namePlacement ?? 'auto'}
          alignmentFactors={count > 1 ? alignmentFactors : undefined}
        />
      )}
    </Values>
  );
}
