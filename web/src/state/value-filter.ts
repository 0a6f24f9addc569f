// Filters by values in the address: `model=a` selects the rows with a value, `-model=a` leaves them out.
import type { Params } from './router';

/** The parameter of the values that are left out. */
export const excluded = (name: string): string => `-${name}`;

/** Changes a filter to only rows with this value. */
export const onlyParams = (name: string, value: string): Params => ({ [name]: value, [excluded(name)]: undefined });

/** Leaves out the rows with this value. */
export function excludeParams(params: URLSearchParams, name: string, value: string): Params {
  const others = (of: string): string[] => params.getAll(of).filter((one) => one !== value);
  return { [name]: others(name), [excluded(name)]: [...others(excluded(name)), value] };
}

/** The address without an exclusion. */
export const includeParams = (params: URLSearchParams, name: string, value: string): Params => ({
  [excluded(name)]: params.getAll(excluded(name)).filter((one) => one !== value),
});

