// Groups of error logs as issues: how many keys and models each affects, and how it develops.
import type { ErrorFacetsQuery, ErrorGroupsQuery, ErrorIssuesQuery } from '../api/gen/graphql';

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
  /** The error logs of each part of the range. */
  parts: number[];
}

export interface Issues {
  of: Map<string, Issue>;
  /** The answer has only the largest groups: there may be more keys or models. */
  areKeysCut: boolean;
  areModelsCut: boolean;
}

/** `first`: the number of groups that were requested. */
export function issuesOf(data: ErrorIssuesQuery, first: number): Issues {
  const { keys, models, ...windows } = data;
  const parts = Object.entries(windows)
    .filter(([name]) => /^w\d+$/.test(name))
    .sort(([a], [b]) => Number(a.slice(1)) - Number(b.slice(1)))
    .map(([, groups]) => groups as ErrorIssuesQuery['w0']);
  const of = new Map<string, Issue>();
  const issue = (group: GroupLabels): Issue => {
    const name = groupName(group);
    const known = of.get(name) ?? { keys: 0, models: 0, parts: parts.map(() => 0) };
    of.set(name, known);
    return known;
  };
  // An error log without a key affects none.
  for (const group of keys) if (group.apiKey) issue(group).keys += 1;
  for (const group of models) if (group.model != null) issue(group).models += 1;
  parts.forEach((groups, index) => {
    for (const group of groups) issue(group).parts[index] = group.count;
  });
  return { of, areKeysCut: keys.length >= first, areModelsCut: models.length >= first };
}

/** The values of the filters with their counts; undefined until they are loaded. */
export type Facets = { [Name in keyof ErrorFacetsQuery]?: ErrorFacetsQuery[Name] | undefined };

interface Counted {
  count: number;
}

/** The sums of the groups with the same value, the largest first. */
function sums<G extends Counted>(groups: readonly G[], value: (group: G) => unknown): G[] {
  const found = new Map<unknown, G>();
  for (const group of groups) {
    const known = found.get(value(group));
    found.set(value(group), { ...group, count: (known?.count ?? 0) + group.count });
  }
  return [...found.values()].sort((a, b) => b.count - a.count);
}

export type FacetName = 'causes' | 'types' | 'models' | 'keys';

/**
 * The facets as sums of groups, and which of them are not complete, since the answer has not all groups. `first`: the
 * number of groups that were requested.
 */
export function facetsOfGroups(
  types: ErrorGroupsQuery['types'] | undefined,
  issues: Pick<ErrorIssuesQuery, 'keys' | 'models'> | undefined,
  first: number,
): { facets: Facets; isCut: Record<FacetName, boolean> } {
  const isCut = (groups: readonly Counted[] | undefined): boolean => (groups?.length ?? 0) >= first;
  return {
    facets: {
      causes: types && sums(types, (group) => group.failureClass),
      types: types && sums(types, (group) => group.errorType),
      models: issues && sums(issues.models, (group) => group.model),
      keys: issues && sums(issues.keys, (group) => group.apiKey?.id),
    },
    isCut: { causes: isCut(types), types: isCut(types), models: isCut(issues?.models), keys: isCut(issues?.keys) },
  };
}

/** The facets of the groups, in place of those that were requested. */
export function mergedFacets(ofGroups: Facets, requested: Facets | undefined, isRequested: Record<FacetName, boolean>): Facets {
  const facet = <N extends FacetName>(name: N): Facets[N] => (isRequested[name] ? requested?.[name] : ofGroups[name]);
  return { codes: requested?.codes, causes: facet('causes'), types: facet('types'), models: facet('models'), keys: facet('keys') };
}
