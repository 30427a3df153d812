# frozen_string_literal: true

# Renders the templates of one job as BOSH's director does, and reads YAML as it does: JSON in on standard input, JSON out on standard output.
#
#   {"yaml": TEXT}                      -> {"value": ...}
#   {"job": DIRECTORY, "given": {...}, "links": {NAME: {"properties": {...}, "instances": [...], "address": ...}}, "spec": {...}}
#                                       -> {"files": {DESTINATION: TEXT}} with "monit" among them, or {"errors": [...]}
#
# The semantics are those of bosh's Bosh::Common::Template (evaluation_context.rb, evaluation_link.rb, evaluation_failed_if.rb), found out by running it;
# test_erb_render.py holds each of them. Only the standard library is used, so that any Ruby from 3.0 on will do.

require 'erb'
require 'json'
require 'ostruct'
require 'yaml'

# What p, if_p, link and if_link raise, in the director's words.
class UnknownProperty < StandardError
  def initialize(names)
    super("Can't find property '#{names.inspect}'")
  end
end

class InvalidPropertyType < StandardError
  def initialize(name, value)
    super("Property '#{name}' expects a hash, but received '#{value.class}'")
  end
end

class UnknownLink < StandardError
  def initialize(name)
    super("Can't find link '#{name}'")
  end
end

# p and if_p on a tree of hashes, for a job's own properties and for those of a link.
module Properties
  def p(*args)
    names = Array(args[0])
    names.each do |name|
      value = find(name)
      return value unless value.nil?
    end
    return args[1] if args.length == 2 # decided by their number: p('x', nil) is nil

    raise UnknownProperty, names
  end

  def if_p(*names)
    values = names.map { |name| find(name) }
    return Otherwise.new(self) if values.any?(&:nil?) # false is a value

    yield(*values)
    Done.new
  end

  private

  def find(name)
    name.split('.').reduce([@raw, []]) do |(value, path), key|
      return nil if value.nil?
      raise InvalidPropertyType.new(path.join('.'), value) unless value.is_a?(Hash)

      [value[key], path + [key]]
    end.first
  end
end

# What an if_p or if_link returns that found nothing ...
class Otherwise
  def initialize(context)
    @context = context
  end

  def else
    yield
  end

  def else_if_p(*names, &block)
    @context.if_p(*names, &block)
  end

  def else_if_link(name, &block)
    @context.if_link(name, &block)
  end
end

# ... and one that found something.
class Done
  def else; end

  def else_if_p(*)
    self
  end

  def else_if_link(*)
    self
  end
end

# A link, as a template sees it.
class Link
  include Properties

  attr_reader :instances

  def initialize(given)
    @raw = given['properties'] || {}
    @instances = (given['instances'] || []).map { |instance| open_struct(instance) }
    @address = given['address']
  end

  def address
    @address || raise(NotImplementedError, 'link.address requires bosh dns entries')
  end

  def if_link(*)
    raise NoMethodError, 'a link has no links'
  end
end

# What a template is evaluated in: one per template, so that nothing leaks from one to the next.
class Context
  include Properties

  attr_reader :spec, :properties, :name, :index

  def initialize(raw, links, spec)
    @raw = raw
    @links = links
    @spec = open_struct(spec.merge('properties' => raw))
    @properties = open_struct(raw)
    @name = spec['name']
    @index = spec['index']
  end

  def link(name)
    given = @links[name]
    raise UnknownLink, name if given.nil?

    Link.new(given)
  end

  def if_link(name)
    return Otherwise.new(self) if @links[name].nil?

    yield link(name)
    Done.new
  end

  def evaluate(source, label)
    erb = ERB.new(source, trim_mode: '-')
    erb.filename = label
    erb.result(binding)
  end
end

def open_struct(value)
  case value
  when Hash then OpenStruct.new(value.transform_values { |item| open_struct(item) })
  when Array then value.map { |item| open_struct(item) }
  else value
  end
end

# Only what the job's spec declares is visible: what was given, unless that is nil, else the default.
def visible(declared, given)
  declared.each_with_object({}) do |(name, definition), tree|
    *path, last = name.split('.')
    value = path.push(last).reduce(given) { |found, key| found.is_a?(Hash) ? found[key] : nil }
    value = (definition || {})['default'] if value.nil?
    path.pop
    path.reduce(tree) { |branch, key| branch[key] ||= {} }[last] = value
  end
end

def line_of(error, label)
  at = error.backtrace&.find { |frame| frame.start_with?("#{label}:") }
  at ? at[/:(\d+)/, 1] : 'unknown'
end

def render(job, given, links, spec)
  declared = YAML.safe_load_file(File.join(job, 'spec'))
  raw = visible(declared['properties'] || {}, given)
  sources = declared['templates'].map { |source, to| [to, File.join(job, 'templates', source), source] }
  sources << ['monit', File.join(job, 'monit'), 'monit']
  files, errors = {}, []
  sources.each do |destination, path, label|
    files[destination] = Context.new(raw, links, spec).evaluate(File.read(path), label)
  rescue StandardError, SyntaxError, NotImplementedError => e
    errors << "Error filling in template '#{label}' (line #{line_of(e, label)}: #{e.message})"
  end
  errors.empty? ? { files: files, properties: raw } : { errors: errors }
end

asked = JSON.parse($stdin.read)
answer =
  if asked.key?('yaml')
    { value: YAML.safe_load(asked['yaml'], aliases: true) }
  else
    render(asked['job'], asked['given'], asked['links'], asked['spec'])
  end
puts JSON.generate(answer)
