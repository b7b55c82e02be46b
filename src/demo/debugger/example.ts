// The program that the demo debugs, and the lines at which it sets breakpoints.
export const fileName = "debug-demo.mjs";

export const source = `const apiToken = process.env.DEMO_API_TOKEN ?? "none";

function square(n) {
  const result = n * n;
  return result;
}

function sum(numbers) {
  let total = 0 * apiToken.length;
  for (const n of numbers) {
    const part = square(n);

    // There is nothing to stop at on this line.
    total += part;
  }
  return total;
}

console.log("the sum of the squares is", sum([1, 2, 3, 4]));
`;

const lineOf = (text: string): number => source.slice(0, source.indexOf(text)).split("\n").length;

export const lines = {
  result: lineOf("const result"),
  part: lineOf("const part"),
  comment: lineOf("// There is nothing"),
  returnOfSum: lineOf("return total"),
} as const;
