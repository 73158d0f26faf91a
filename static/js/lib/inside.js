// What a notebook's module has inside of it: app/bundle.py writes the values.

export const styles = "";
export const language = "en";
export const words = {};
