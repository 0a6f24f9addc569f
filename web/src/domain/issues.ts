// Groups of error logs as issues: how many keys and models each affects, and how it develops.
import type { ErrorIssuesQuery, ErrorTrendsQuery } from '../api/gen/graphql';

export interface GroupLabels {
  failureClass?: string | null | undefined;
  messageTemplate?: { id: string } | null | undefined;
}

/** Identifies a group. */
export const groupName = ({ failureClass, messageTemplate }: GroupLabels): string => JSON.stringify([failureClass ?? null, messageTemplate?.id ?? null]);

/** The types of the error logs of each group, the most frequent one first. */
export function typesOf(groups: readonly (GroupLabels & { errorType?: string | null | undefined })[]): Map<string, string[]> {
  const types = new Map<string, string[]>();
  for (const group of groups) {
    const name = groupName(group);
    if (group.errorType != null) types.set(name, [...(types.get(name) ?? []), group.errorType]);
  }
  return types;
}

export interface Issue {
  keys: number;
  models: number;
  /** The error logs of each part of the range, once they are loaded. */
  parts: number[] | undefined;
}

export interface Issues {
  of: Map<string, Issue>;
  /** The answer has only the largest groups: there may be more keys or models. */
  areKeysCut: boolean;
  areModelsCut: boolean;
}

/** `trends`: the parts, once they are loaded. `first`: the number of groups that were requested. */
export function issuesOf({ keys, models }: Pick<ErrorIssuesQuery, 'keys' | 'models'>, trends: ErrorTrendsQuery | undefined, first: number): Issues {
  const parts = Object.entries(trends ?? {})
    .filter(([name]) => /^w\d+$/.test(name))
    .sort(([a], [b]) => Number(a.slice(1)) - Number(b.slice(1)))
    .map(([, groups]) => groups as ErrorTrendsQuery['w0']);
  const of = new Map<string, Issue>();
  const issue = (group: GroupLabels): Issue => {
    const name = groupName(group);
    const known = of.get(name) ?? { keys: 0, models: 0, parts: trends && parts.map(() => 0) };
    of.set(name, known);
    return known;
  };
  // An error log without a key affects none.
  for (const group of keys) if (group.apiKey) issue(group).keys += 1;
  for (const group of models) if (group.model != null) issue(group).models += 1;
  parts.forEach((groups, index) => {
    for (const group of groups) (issue(group).parts ?? [])[index] = group.count;
  });
  return { of, areKeysCut: keys.length >= first, areModelsCut: models.length >= first };
}
