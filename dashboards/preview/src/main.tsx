// The preview of the dashboards: draws their JSON files with Grafana's components.
import './page.css';
import { createRoot } from 'react-dom/client';
import { followLinks } from './address';
import { Page } from './page';

followLinks();
createRoot(document.getElementById('page')!).render(<Page />);
