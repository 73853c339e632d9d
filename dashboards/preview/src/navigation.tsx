// The links at the top of a dashboard.
import { LinkButton } from '@grafana/ui';
import type { Link } from './dashboard';
import { useView } from './view';

export function Navigation() {
  const { dashboard, text } = useView();
  const address = ({ url = '', keepTime, includeVars }: Link) => {
    const parameters = [keepTime && '${__url_time_range}', includeVars && '${__all_variables}'].filter(Boolean);
    return text(`${url}${url.includes('?') ? '&' : '?'}${parameters.join('&')}`);
  };
  return (
    <nav className="links">
      {(dashboard.links ?? []).map((link) => (
        <LinkButton key={link.title} href={address(link)} size="sm" variant="secondary" fill="outline">
          {text(link.title)}
        </LinkButton>
      ))}
    </nav>
  );
}
