// A panel: its frame, its title, and what it shows.
import { LoadingState, renderMarkdown } from '@grafana/data';
import { Menu, PanelChrome } from '@grafana/ui';
import { Component, type ReactNode } from 'react';
import { download } from './csv';
import type { Panel as Model } from './dashboard';
import { usePanelData } from './panel_data';
import { HeatMap } from './panels/heat_map';
import type { Drawn } from './panels/drawn';
import { Lines } from './panels/lines';
import { TableOf } from './panels/table';
import { Timeline } from './panels/timeline';
import { BarGauges, Stats } from './panels/values';
import { WorldMap } from './panels/world_map';
import { useView } from './view';

const DRAWN: Record<string, (props: Drawn) => ReactNode> = {
  alertlist: TableOf,
  bargauge: BarGauges,
  geomap: WorldMap,
  heatmap: HeatMap,
  stat: Stats,
  'state-timeline': Timeline,
  table: TableOf,
  timeseries: Lines,
};

/** Shows the error of what cannot be drawn, until `of` is another value; the rest of the page stays. */
export class Guard extends Component<{ of: unknown; children: ReactNode }, { error?: Error }> {
  state: { error?: Error } = {};
  static getDerivedStateFromError = (error: Error) => ({ error });
  componentDidUpdate({ of }: { of: unknown }) {
    this.state.error && of !== this.props.of && this.setState({ error: undefined });
  }
  render() {
    return this.state.error ? <Notice text={`The preview cannot draw this: ${this.state.error.message}`} /> : this.props.children;
  }
}

const Notice = ({ text }: { text: string }) => <div className="notice">{text}</div>;

interface Props {
  panel: Model;
  width: number;
  height: number;
}

function chrome({ panel, width, height }: Props, title: string, text: (text: string) => string) {
  const description = panel.description && renderMarkdown(text(panel.description));
  const transparent = panel.transparent ? ('transparent' as const) : ('default' as const);
  const links = (panel.links ?? []).map(({ title, url = '' }) => (
    <a key={title} href={text(url)} className="link">{text(title)}</a>
  ));
  return { title, width, height, description, displayMode: transparent, actions: links.length > 0 ? <>{links}</> : undefined };
}

export function Panel(props: Props) {
  const { panel, width } = props;
  const { text } = useView();
  const { frames, errors, loading } = usePanelData(panel, width);
  const title = text(panel.title ?? '');
  const rows = frames.reduce((sum, frame) => sum + frame.length, 0);
  const Draw = DRAWN[panel.type];
  const menu = <Menu><Menu.Item label="Download CSV" icon="download-alt" onClick={() => download(title, frames)} /></Menu>;
  // A stat draws its text for no data itself.
  const draws = Draw && (rows > 0 || (panel.type === 'stat' && frames.length > 0));
  const none = Draw ? (panel.fieldConfig?.defaults.noValue ?? 'No data') : `Only Grafana draws panels of the type ${panel.type}.`;
  const state = errors.length > 0 ? 'error' : loading ? 'loading' : rows > 0 ? 'data' : 'empty';
  return (
    <section data-panel={panel.id} data-type={panel.type} data-state={state} aria-label={title}>
      <PanelChrome
        {...chrome(props, title, text)} loadingState={loading ? LoadingState.Loading : LoadingState.Done}
        statusMessage={errors[0]} menu={menu} collapsible={false} showMenuAlways={Draw === TableOf}
        padding={Draw === TableOf ? 'none' : 'md'}
      >
        {(innerWidth, innerHeight) =>
          draws ? (
            <Guard of={frames}>
              <Draw panel={panel} frames={frames} width={innerWidth} height={innerHeight} />
            </Guard>
          ) : (
            <Notice text={errors[0] ?? (loading ? 'Loading …' : none)} />
          )
        }
      </PanelChrome>
    </section>
  );
}
