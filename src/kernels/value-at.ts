interface Values<K, V> {
  get(key: K): V | undefined;
  set(key: K, value: V): unknown;
}

/** What a map holds at a key; made, and kept there, where there is nothing yet. */
export const valueAt = <K, V>(values: Values<K, V>, key: K, make: () => V): V => {
  let value = values.get(key);
  if (value === undefined) values.set(key, (value = make()));
  return value;
};
