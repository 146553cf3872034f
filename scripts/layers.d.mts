export const LAYERS: string[];
export function importedModules(text: string): string[];
export function checkLayers(root: string): string[];
