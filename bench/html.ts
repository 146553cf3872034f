export const benchPage = (_: unknown): string => '';
