// JSON is snake_case, scripts are camelCase.

/** A key of JSON as scripts have it. */
export const toCamel = (key) => key.replace(/_([a-z])/g, (whole, letter) => letter.toUpperCase());
const toSnake = (key) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** Every key of a JSON value in camelCase. */
export function camel(value) {
  if (Array.isArray(value)) return value.map(camel);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [toCamel(key), camel(v)]));
}

/** The keys of one object in camelCase, its values as they are. */
export const camelKeys = (object) =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [toCamel(key), value]));

/** A spec's keys in snake_case, without what is null. */
export function snake(spec) {
  const given = Object.entries(spec).filter(([, value]) => value !== null);
  return Object.fromEntries(given.map(([key, value]) => [toSnake(key), value]));
}
