/** Lines of a table on a terminal: cells are padded to these widths, those behind them stand as they are. */
export const inColumns = (...widths: readonly number[]) => (...cells: readonly string[]): string =>
  cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' ').trimEnd();
