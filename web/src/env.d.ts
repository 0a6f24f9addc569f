/** Whether the schema tells of rows as they are stored (vite.config.ts). */
declare const HAS_TAIL: boolean;
