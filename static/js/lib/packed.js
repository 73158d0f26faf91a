// The plotting library of a page that is one file: packed there, unpacked when a plot needs it.
const text = document.getElementById("packed").textContent;
const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
const script = new Blob([await new Response(unpacked).blob()], {type: "text/javascript"});
await import(URL.createObjectURL(script));
