// Server-sent events of an answer, one by one. Their twin is app/streaming.py.

/**
 * @param {ReadableStream<Uint8Array>} stream
 * @yields {{name: string, data: Object}}
 */
export async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (let {done, value} = await reader.read(); !done; {done, value} = await reader.read()) {
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      yield* blocks.map(event);
    }
  } finally {
    await reader.cancel().catch(() => {}); // who stops reading stops the server's work
  }
}

function event(block) {
  const fields = Object.fromEntries(block.split("\n").map((line) => {
    const at = line.indexOf(":");
    return [line.slice(0, at), line.slice(at + 1).trimStart()];
  }));
  return {name: fields.event, data: JSON.parse(fields.data)};
}
