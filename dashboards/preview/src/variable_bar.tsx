// The variables that a viewer chooses.
import { useEffect, useState, type ReactNode } from 'react';
import { Combobox, InlineField, InlineFieldRow, Input, type ComboboxOption } from '@grafana/ui';
import { query } from './api';
import { ALL, type Variable } from './dashboard';
import { useView } from './view';

/** Of a query the answer: the first column is the value, the second one, if there is one, the text. */
function useOptions(variable: Variable): ComboboxOption[] {
  const { asked, round } = useView();
  const [options, set] = useState<ComboboxOption[]>([]);
  useEffect(() => {
    if (variable.type !== 'query') {
      return;
    }
    const stop = new AbortController();
    query({ ...asked, variable: variable.name }, stop.signal)
      .then(({ rows }) => rows.map(([value, text = value]) => ({ value: String(value), label: String(text) })))
      .then((options) => stop.signal.aborted || set(options), () => set([]));
    return () => stop.abort();
  }, [variable, JSON.stringify(asked), round]);
  return variable.type === 'query' ? options : (variable.options ?? []).map(({ text, value }) => ({ label: text, value }));
}

function Choice({ variable, chosen, choose }: { variable: Variable; chosen: string; choose: (value: string) => void }) {
  const options = useOptions(variable);
  const all = variable.includeAll ? [{ label: 'All', value: ALL }, ...options] : options;
  const own = chosen && !all.some(({ value }) => value === chosen) ? [{ label: chosen, value: chosen }] : [];
  return (
    <Combobox
      id={`var-${variable.name}`} options={[...all, ...own]} value={chosen || null}
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
    ({ hide, type }) => hide !== 2 && ['custom', 'query', 'textbox', 'interval'].includes(type),
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
