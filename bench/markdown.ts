export const benchMarkdown = (_: unknown): string => '';
