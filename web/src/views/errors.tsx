import type { JSX } from 'preact';
export function Errors(): JSX.Element { return <p>errors</p>; }
