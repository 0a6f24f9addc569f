/** Whether two windows can be compared: a window in which the log starts has hardly any calls. */
export const isComparable = (now: number, before: number): boolean => before > 0 && now / before < 100;
