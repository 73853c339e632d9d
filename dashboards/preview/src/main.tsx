// The preview of the dashboards: draws their JSON files with Grafana's components.
import './page.css';
import { locationUtil, type GrafanaConfig } from '@grafana/data';
import { createRoot } from 'react-dom/client';
import { followLinks } from './address';
import { Page } from './page';

// Grafana decodes the address of a data link once more, which changes values with `&`, `+`, `#` or `%27`. Here the links are those
// of the committed files, and their values are encoded.
locationUtil.initialize({
  config: { appSubUrl: '', disableSanitizeHtml: true } as GrafanaConfig,
  getVariablesUrlParams: () => ({}),
  getTimeRangeForUrl: () => ({ from: '', to: '' }),
});
followLinks();
createRoot(document.getElementById('page')!).render(<Page />);
