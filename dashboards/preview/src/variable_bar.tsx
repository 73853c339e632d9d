// The variables that a viewer chooses.
import { useEffect, useState, type ReactNode } from 'react';
import { Combobox, InlineField, InlineFieldRow, Input } from '@grafana/ui';
import type { Variable } from './dashboard';
import { useView } from './view';

function Choice({ variable, chosen, choose }: { variable: Variable; chosen: string; choose: (value: string) => void }) {
  const options = (variable.options ?? []).map(({ text, value }) => ({ label: text, value }));
  const own = chosen && !options.some(({ value }) => value === chosen) ? [{ label: chosen, value: chosen }] : [];
  return (
    <Combobox
      id={`var-${variable.name}`} options={[...options, ...own]} value={chosen || null}
      onChange={(option) => choose(option.value)} width="auto" minWidth={12}
    />
  );
}

function TextBox({ variable, chosen, choose }: { variable: Variable; chosen: string; choose: (value: string) => void }) {
  const [typed, type] = useState(chosen);
  useEffect(() => type(chosen), [chosen]);
  const end = () => typed !== chosen && choose(typed);
  return (
    <Input
      id={`var-${variable.name}`} value={typed} width={18} onChange={(event) => type(event.currentTarget.value)}
      onBlur={end} onKeyDown={(event) => event.key === 'Enter' && end()}
    />
  );
}

export function VariableBar({ children }: { children: ReactNode }) {
  const { dashboard, values, change, address } = useView();
  const shown = dashboard.templating.list.filter(
    ({ hide, type }) => hide !== 2 && ['custom', 'textbox'].includes(type),
  );
  return (
    <InlineFieldRow>
      {shown.map((variable) => {
        const chosen = values[variable.name]?.[0] ?? '';
        const choose = (value: string) => change({ values: { ...address.values, [variable.name]: [value] } });
        const Field = variable.type === 'textbox' ? TextBox : Choice;
        const label = variable.hide === 1 ? undefined : (variable.label ?? variable.name);
        return (
          <InlineField key={variable.name} label={label} tooltip={variable.description} htmlFor={`var-${variable.name}`}>
            <Field variable={variable} chosen={chosen} choose={choose} />
          </InlineField>
        );
      })}
      {children}
    </InlineFieldRow>
  );
}
