/** Whether a window says anything about the one before it: that in which a log begins hardly saw calls. */
export const comparable = (now: number, before: number): boolean => before > 0 && now / before < 100;
