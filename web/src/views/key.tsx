import type { JSX } from 'preact';
export function KeyView({ id }: { id: string }): JSX.Element { return <p>{id}</p>; }
