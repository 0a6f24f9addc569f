import type { JSX } from 'preact';
export function Keys(): JSX.Element { return <p>keys</p>; }
