// A value that components subscribe to.
import { useLayoutEffect, useState } from 'preact/hooks';

export interface Store<T> {
  get: () => T;
  set: (value: T) => void;
  subscribe: (listener: () => void) => () => void;
}

export function store<T>(first: T): Store<T> {
  let value = first;
  const listeners = new Set<() => void>();
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      for (const listener of [...listeners]) listener();
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

export function useStore<T>(of: Store<T>): T {
  const [, redraw] = useState({});
  const drawn = of.get();
  useLayoutEffect(() => {
    const unsubscribe = of.subscribe(() => redraw({}));
    // The value may have changed between render and subscription.
    if (!Object.is(drawn, of.get())) redraw({});
    return unsubscribe;
  }, [of]);
  return drawn;
}
