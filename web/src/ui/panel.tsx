// A section of a view, with its heading.
import type { ComponentChildren, JSX } from 'preact';
import { useId } from 'preact/hooks';

export function Panel(props: {
  title: string;
  class?: string;
  actions?: ComponentChildren;
  children: ComponentChildren;
}): JSX.Element {
  const id = useId();
  return (
    <section class={`panel ${props.class ?? ''}`} aria-labelledby={id}>
      <header class="panel-head">
        <h2 id={id}>{props.title}</h2>
        <div class="panel-actions">{props.actions}</div>
      </header>
      {props.children}
    </section>
  );
}
