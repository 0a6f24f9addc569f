// A value that components follow.
import { useLayoutEffect, useState } from 'preact/hooks';

export interface Store<T> {
  get: () => T;
  set: (value: T) => void;
  follow: (listener: () => void) => () => void;
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
    follow(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

export function useStore<T>(of: Store<T>): T {
  const [, redraw] = useState({});
  const drawn = of.get();
  useLayoutEffect(() => {
    const unfollow = of.follow(() => redraw({}));
    // What was set between drawing and following.
    if (!Object.is(drawn, of.get())) redraw({});
    return unfollow;
  }, [of]);
  return drawn;
}
