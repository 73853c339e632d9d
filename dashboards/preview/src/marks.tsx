// The annotations of a dashboard, for its charts over time, and the switch of each.
import { useEffect, useState } from 'react';
import { InlineField, InlineSwitch, useTheme2 } from '@grafana/ui';
import { query, type Question } from './api';
import type { Annotation, Dashboard } from './dashboard';
import { frame } from './frame';
import type { Mark } from './view';

async function marks({ name, iconColor }: Annotation, asked: Question): Promise<Mark[]> {
  const { fields, length } = frame(await query({ ...asked, annotation: name }), { refId: name });
  const column = (name: string) => fields.find((field) => field.name === name)?.values;
  const [time, end, title, text] = ['time', 'timeEnd', 'title', 'text'].map(column);
  return Array.from({ length }, (_, row) => ({
    from: Number(time?.[row]),
    to: Number(end?.[row] || time?.[row]),
    text: [name, title?.[row], text?.[row]].filter(Boolean).join('\n'),
    color: iconColor ?? 'blue',
  }));
}

/** The marks of all annotations that are on, and a switch for each; one that fails has its error beside its switch. */
export function useMarks({ annotations }: Dashboard, asked: Question, round: number) {
  const all = (annotations?.list ?? []).filter(({ builtIn }) => !builtIn);
  const theme = useTheme2();
  const [changed, change] = useState<Record<string, boolean>>({});
  const isOn = ({ name, enable }: Annotation) => changed[name] ?? enable !== false;
  const [answers, set] = useState<PromiseSettledResult<Mark[]>[]>([]);
  useEffect(() => {
    let isStopped = false;
    const answered = all.map((one) => (isOn(one) ? marks(one, asked) : Promise.resolve([])));
    Promise.allSettled(answered).then((answers) => isStopped || set(answers));
    return () => void (isStopped = true);
  }, [JSON.stringify([asked, changed]), round]);
  const switches = all.map((one, nth) => {
    const answer = answers[nth];
    const error = answer?.status === 'rejected' ? String(answer.reason?.message ?? answer.reason) : undefined;
    // The key of the colours.
    const style = { boxShadow: `0 3px ${theme.visualization.getColorByName(one.iconColor ?? 'blue')}` };
    return (
      <InlineField key={one.name} label={one.name} invalid={Boolean(error)} error={error} htmlFor={`annotation-${nth}`} style={style}>
        <InlineSwitch id={`annotation-${nth}`} value={isOn(one)} onChange={() => change({ ...changed, [one.name]: !isOn(one) })} />
      </InlineField>
    );
  });
  return { marks: answers.flatMap((one) => (one.status === 'fulfilled' ? one.value : [])), switches };
}
